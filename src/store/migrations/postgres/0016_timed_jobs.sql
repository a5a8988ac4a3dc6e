-- Until when the end of a timed swap is tried again.
alter table reverts add column gives_up_at bigint not null default 0;
update reverts set gives_up_at = due_at + 3600000;
