-- Equal refusals within a minute are one entry, whose count grows. Nothing else of an entry is ever changed.
alter table audit add column count bigint not null default 1;

create or replace function audit_is_append_only() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        if old.at < (select ended_at from audit_retention) then
            return old;
        end if;
    elsif tg_op = 'UPDATE' then
        if old.outcome = 'refused' and new.count > old.count
            and to_jsonb(new) - 'count' = to_jsonb(old) - 'count' then
            return new;
        end if;
    end if;
    raise exception 'audit entries are never changed, and not deleted before their time';
end
$$;
