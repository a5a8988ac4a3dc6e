-- Equal refusals within a minute are one entry, whose count grows. Nothing else of an entry is ever changed.
alter table audit add column count integer not null default 1;

drop trigger audit_is_append_only_update;

create trigger audit_is_append_only_update
before update of id, at, actor, address, action, object, outcome, before, after, detail, request_id on audit
begin
    select raise(abort, 'audit entries are never changed');
end;

create trigger audit_count_only_grows before update of count on audit
when old.outcome <> 'refused' or new.count <= old.count
begin
    select raise(abort, 'audit entries are never changed');
end;
