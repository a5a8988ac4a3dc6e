-- The model that gave the last answer in a context, and when it was asked.
alter table contexts add column served text;
alter table contexts add column served_at integer;
