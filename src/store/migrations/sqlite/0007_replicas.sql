-- Which replica runs a swap, and what else only one may do at a time. With SQLite there is one replica.
create table replicas (
    id text primary key, -- UUID v7, new at each start
    seen_at integer not null -- by the database's clock
) strict, without rowid;

create table locks (
    name text primary key, -- 'background', 'agent/context', 'bulk/…'
    replica text not null,
    holder text not null -- in whose name
) strict, without rowid;

alter table swaps add column replica text;

create index swaps_unfinished on swaps (id) where finished_at is null;
