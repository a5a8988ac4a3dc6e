-- Alerts that are to be sent.
create table alerts (
    id text primary key, -- UUID v7, the same at each attempt
    kind text not null,
    payload text not null, -- JSON, without secrets
    created_at integer not null,
    next_at integer not null, -- of the next attempt
    attempts integer not null default 0,
    sent_at integer,
    problem text -- why the last attempt failed
) strict, without rowid;

create index alerts_due on alerts (next_at) where sent_at is null;

create table alert_progress (
    only_row integer primary key check (only_row = 1),
    audit_id integer not null, -- entries up to this one were looked at
    kinds text -- as chosen by an admin, comma-separated; null for those of the settings
) strict;

-- What answered when it was polled last.
create table health (
    name text primary key, -- 'proxy', 'agent/…'
    is_up integer not null,
    since integer not null
) strict, without rowid;
