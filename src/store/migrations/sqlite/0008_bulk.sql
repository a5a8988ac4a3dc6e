-- One swap of many contexts.
create table bulk_jobs (
    id text primary key, -- UUID v7: sorts by time
    agent text not null,
    model text,
    prompt text not null, -- JSON
    undoes text, -- the job whose swaps this one takes back
    actor text not null,
    address text,
    request_id text,
    state text not null, -- 'running', 'asking', 'stopped', 'cancelled', 'done'
    why text,
    upto integer not null, -- items beyond this number wait for a yes
    at_once integer not null,
    pace_ms integer not null, -- from the start of a swap to that of the next
    stop_after integer not null, -- failures; 0 for never
    forgiven integer not null default 0, -- failures before someone said to go on
    started_at integer not null,
    ended_at integer
) strict, without rowid;

create table bulk_items (
    job text not null references bulk_jobs (id),
    n integer not null, -- from 1
    context text not null,
    back_to text, -- the swap to take back
    state text not null, -- 'waiting', 'running', 'done', 'failed', 'skipped'
    swap text, -- the swap that was begun, or was about to be
    why text,
    primary key (job, n)
) strict, without rowid;

create index bulk_items_by_state on bulk_items (job, state, n);
