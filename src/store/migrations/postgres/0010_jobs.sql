-- One engine for all background jobs. Bulk swaps were the only ones that outlived their process.
create table jobs (
    id text collate "C" primary key, -- UUID v7: sorts by time
    kind text not null, -- 'swap', 'keys', 'import', 'reset'
    parameters text not null, -- JSON, without secrets
    actor text not null, -- in whose name the items run
    address text,
    request_id text,
    created_by text not null,
    state text not null, -- 'planned', 'running', 'asking', 'stopped', 'cancelled', 'failed', 'done'
    why text,
    upto bigint not null, -- items beyond this number wait for approval
    concurrency bigint not null,
    pace_ms bigint not null, -- from the start of an item to that of the next
    stop_after bigint not null, -- failures; 0 for never
    forgiven bigint not null default 0, -- failures before the job was last continued
    holder text, -- the replica that has the job's secrets in memory
    started_at bigint not null,
    ended_at bigint
);

create table job_items (
    job text collate "C" not null references jobs (id),
    n bigint not null, -- from 1
    subject text not null, -- a context, a key's hash, a model's name
    task text, -- what else is needed to do it, by the kind of the job
    state text not null, -- 'waiting', 'running', 'done', 'failed', 'skipped'
    reference text collate "C", -- what it led to: the swap that was begun, or is about to be; the deployment
    why text,
    primary key (job, n)
);

create index jobs_by_kind on jobs (kind, id);
create index jobs_open on jobs (state) where ended_at is null;
create unique index jobs_one_reset on jobs (kind) where kind = 'reset' and state = 'running';
create index job_items_by_state on job_items (job, state, n);

insert into jobs (id, kind, parameters, actor, address, request_id, created_by, state, why, upto, concurrency, pace_ms,
    stop_after, forgiven, started_at, ended_at)
select id, 'swap',
    json_build_object('kind', 'swap', 'agent', agent, 'model', model, 'prompt', prompt::json, 'undoes', undoes)::text,
    actor, address, request_id, actor, state, why, upto, at_once, pace_ms, stop_after, forgiven, started_at, ended_at
from bulk_jobs;

insert into job_items (job, n, subject, task, state, reference, why)
select job, n, context, back_to, state, swap, why from bulk_items;

drop table bulk_items;
drop table bulk_jobs;

-- A free lock keeps its row, and replica is empty: the next holder's token counts on from there.
alter table locks add column token bigint not null default 0;
update locks set name = 'job/' || substr(name, 6) where name like 'bulk/%';
