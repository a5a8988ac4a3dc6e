-- What the last swap that succeeded left a context on: where `config`, which is what was read last, differs,
-- someone else changed it.
alter table contexts add column selected text;
alter table contexts add column label text;
alter table contexts add column pinned integer not null default 0;
alter table contexts add column keep integer not null default 0; -- put back by itself after a drift

-- Messages asked in a context, and their answers.
create table asks (
    id text primary key, -- UUID v7: sorts by time
    agent text not null,
    context text not null,
    actor text not null,
    proof text not null, -- message, answer, model, tokens, time
    problem text, -- why there is no whole answer
    at integer not null
) strict, without rowid;

create index asks_by_context on asks (agent, context, id);

-- Swaps that are for a time: what to go back to, and when.
create table reverts (
    agent text not null,
    context text not null,
    swap text not null references swaps (id),
    due_at integer not null,
    primary key (agent, context)
) strict, without rowid;
