-- One swap of many contexts.
create table bulk_jobs (
    id text collate "C" primary key, -- UUID v7: sorts by time
    agent text not null,
    model text,
    prompt text not null, -- JSON
    undoes text, -- the job whose swaps this one takes back
    actor text not null,
    address text,
    request_id text,
    state text not null, -- 'running', 'asking', 'stopped', 'cancelled', 'done'
    why text,
    upto bigint not null, -- items beyond this number wait for a yes
    at_once bigint not null,
    pace_ms bigint not null, -- from the start of a swap to that of the next
    stop_after bigint not null, -- failures; 0 for never
    forgiven bigint not null default 0, -- failures before someone said to go on
    started_at bigint not null,
    ended_at bigint
);

create table bulk_items (
    job text collate "C" not null references bulk_jobs (id),
    n bigint not null, -- from 1
    context text not null,
    back_to text, -- the swap to take back
    state text not null, -- 'waiting', 'running', 'done', 'failed', 'skipped'
    swap text collate "C", -- the swap that was begun, or was about to be
    why text,
    primary key (job, n)
);

create index bulk_items_by_state on bulk_items (job, state, n);
