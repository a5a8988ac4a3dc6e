-- Times are milliseconds since 1970 UTC. JSON stands in text columns, yes and no are 1 and 0. What is sorted by
-- its text is compared byte by byte, as SQLite does.

create table sessions (
    id_hash text collate "C" primary key, -- SHA-256 of the session id: whoever reads a backup cannot log in with it
    data text not null,
    expires_at bigint not null
);

create index sessions_by_expiry on sessions (expires_at);

create table swaps (
    id text collate "C" primary key, -- UUID v7: sorts by time
    agent text collate "C" not null,
    context text collate "C" not null,
    actor text not null,
    model text,
    prompt text not null,
    config_before text,
    config_after text,
    steps text not null,
    proof text,
    outcome text not null,
    fault text,
    started_at bigint not null,
    finished_at bigint -- none while it runs
);

create index swaps_by_context on swaps (agent, context, id);

create table contexts (
    agent text collate "C" not null,
    context text collate "C" not null,
    config text,
    read_at bigint,
    last_swap text collate "C" references swaps (id),
    primary key (agent, context)
);

create table agents (
    name text collate "C" primary key,
    scope text, -- 'context', 'agent' or not known yet
    seen_at bigint not null
);

create table audit (
    id bigint generated always as identity primary key,
    at bigint not null,
    actor text not null,
    address text,
    action text not null,
    object text not null,
    outcome text not null,
    before text,
    after text,
    detail text,
    request_id text
);

create index audit_by_object on audit (object, id);

create function audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'audit entries are never changed or deleted';
end
$$;

create trigger audit_is_append_only before update or delete on audit
for each row execute function audit_is_append_only();

create trigger audit_is_not_emptied before truncate on audit
for each statement execute function audit_is_append_only();

-- Entries get their numbers in the order in which they become visible, so that whoever has seen one has seen
-- all before it; and whoever listens is told.
create function audit_in_order() returns trigger language plpgsql as $$
begin
    perform pg_advisory_xact_lock(hashtext('patchbay audit'));
    return null;
end
$$;

create trigger audit_in_order before insert on audit
for each statement execute function audit_in_order();

create function audit_tell() returns trigger language plpgsql as $$
begin
    perform pg_notify('patchbay_audit', new.id::text);
    return null;
end
$$;

create trigger audit_tell after insert on audit
for each row execute function audit_tell();
