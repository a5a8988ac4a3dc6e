-- Entries can be found by who, what and when, and old ones end where a retention is set.
create index audit_by_actor on audit (actor, id);
create index audit_by_action on audit (action, id);
create index audit_by_time on audit (at, id);

-- Entries before this time may be deleted; none may without it.
create table audit_retention (
    only_row bigint primary key check (only_row = 1),
    ended_at bigint not null
);

insert into audit_retention (only_row, ended_at) values (1, 0);

create or replace function audit_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        if old.at < (select ended_at from audit_retention) then
            return old;
        end if;
    end if;
    raise exception 'audit entries are never changed, and not deleted before their time';
end
$$;
