-- Times are milliseconds since 1970 UTC. JSON stands in text columns.

create table sessions (
    id_hash text primary key, -- SHA-256 of the session id: whoever reads the file cannot log in with it
    data text not null,
    expires_at integer not null
) strict, without rowid;

create index sessions_by_expiry on sessions (expires_at);

create table swaps (
    id text primary key, -- UUID v7: sorts by time
    agent text not null,
    context text not null,
    actor text not null,
    model text,
    prompt text not null,
    config_before text,
    config_after text,
    steps text not null,
    proof text,
    outcome text not null,
    fault text,
    started_at integer not null,
    finished_at integer -- none while it runs
) strict, without rowid;

create index swaps_by_context on swaps (agent, context, id);

create table contexts (
    agent text not null,
    context text not null,
    config text,
    read_at integer,
    last_swap text references swaps (id),
    primary key (agent, context)
) strict, without rowid;

create table agents (
    name text primary key,
    scope text, -- 'context', 'agent' or not known yet
    seen_at integer not null
) strict, without rowid;

create table audit (
    id integer primary key autoincrement,
    at integer not null,
    actor text not null,
    address text,
    action text not null,
    object text not null,
    outcome text not null,
    before text,
    after text,
    detail text,
    request_id text
) strict;

create index audit_by_object on audit (object, id);

create trigger audit_is_append_only_update before update on audit
begin
    select raise(abort, 'audit entries are never changed');
end;

create trigger audit_is_append_only_delete before delete on audit
begin
    select raise(abort, 'audit entries are never deleted');
end;
