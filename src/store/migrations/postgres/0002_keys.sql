-- Keys that were replaced, and end after a grace period.
create table key_retirements (
    hash text collate "C" primary key,
    action text not null, -- 'delete' or 'block'
    due_at bigint not null,
    actor text not null,
    replaced_by text not null,
    asked_at bigint not null,
    problem text -- why the last try failed
);

create index key_retirements_by_due on key_retirements (due_at);
