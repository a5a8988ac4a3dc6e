-- What the last swap that succeeded left a context on: where `config`, which is what was read last, differs,
-- someone else changed it.
alter table contexts add column selected text;
alter table contexts add column label text;
alter table contexts add column pinned bigint not null default 0;
alter table contexts add column keep bigint not null default 0; -- put back by itself after a drift

-- Messages asked in a context, and their answers.
create table asks (
    id text collate "C" primary key, -- UUID v7: sorts by time
    agent text collate "C" not null,
    context text collate "C" not null,
    actor text not null,
    proof text not null, -- message, answer, model, tokens, time
    problem text, -- why there is no whole answer
    at bigint not null
);

create index asks_by_context on asks (agent, context, id);

-- Swaps that are for a time: what to go back to, and when.
create table reverts (
    agent text collate "C" not null,
    context text collate "C" not null,
    swap text collate "C" not null references swaps (id),
    due_at bigint not null,
    primary key (agent, context)
);
