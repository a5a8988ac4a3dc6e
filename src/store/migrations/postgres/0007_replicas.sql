-- Which replica runs a swap, and what else only one may do at a time.
create table replicas (
    id text collate "C" primary key, -- UUID v7, new at each start
    seen_at bigint not null -- by the database's clock
);

create table locks (
    name text collate "C" primary key, -- 'background', 'agent/context', 'bulk/…'
    replica text not null,
    holder text not null -- in whose name
);

alter table swaps add column replica text;

create index swaps_unfinished on swaps (id) where finished_at is null;
