-- What can be found by its words: of tasks, and of steps that failed. tasker_index_words fills it, off the fast path. Words are those of the configuration simple.

create table tasker_task_words (
  task_no        bigint primary key,
  definition_id  int not null,
  words          tsvector not null          -- of its context's values, tags, initiator, source, reason and correlation id
);
create index tasker_task_words_words on tasker_task_words using gin (words);

create table tasker_step_words (
  task_no        bigint not null,
  step_no        int not null,
  definition_id  int not null,
  words          tsvector not null,         -- of the error of its last attempt that failed
  primary key (task_no, step_no)
);
create index tasker_step_words_words on tasker_step_words using gin (words);
create index tasker_step_words_of_definition on tasker_step_words (definition_id, task_no, step_no);   -- the newest failures of a quiet namespace beside loud ones

-- how far they are; the one row is made at the first look, and held by who goes on
create table tasker_words_place (
  only_row   boolean primary key default true check (only_row),
  tasks_to   bigint not null default 0,     -- every task up to this number is there
  known_to   bigint not null default 0,     -- the newest number at the last look: its turn comes when every transaction below known_xid has ended
  known_xid  bigint not null default 0,
  names      text[] not null default '{}',  -- how names of secrets ended when they were written down
  moves_to   bigint not null default 0      -- every failure up to this number of the history is there
);
