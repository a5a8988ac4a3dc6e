-- Alerts that are to be sent.
create table alerts (
    id text collate "C" primary key, -- UUID v7, the same at each attempt
    kind text not null,
    payload text not null, -- JSON, without secrets
    created_at bigint not null,
    next_at bigint not null, -- of the next attempt
    attempts bigint not null default 0,
    sent_at bigint,
    problem text -- why the last attempt failed
);

create index alerts_due on alerts (next_at) where sent_at is null;

create table alert_progress (
    only_row bigint primary key check (only_row = 1),
    audit_id bigint not null, -- entries up to this one were looked at
    kinds text -- as chosen by an admin, comma-separated; null for those of the settings
);

-- What answered when it was polled last.
create table health (
    name text collate "C" primary key, -- 'proxy', 'agent/…'
    is_up bigint not null,
    since bigint not null
);
