-- Entries can be found by who, what and when, and old ones end where a retention is set.
create index audit_by_actor on audit (actor, id);
create index audit_by_action on audit (action, id);
create index audit_by_time on audit (at, id);

-- Entries before this time may be deleted; none may without it.
create table audit_retention (
    only_row integer primary key check (only_row = 1),
    ended_at integer not null
) strict;

insert into audit_retention (only_row, ended_at) values (1, 0);

drop trigger audit_is_append_only_delete;

create trigger audit_is_append_only_delete before delete on audit
when old.at >= (select ended_at from audit_retention)
begin
    select raise(abort, 'audit entries are not deleted before their time');
end;
