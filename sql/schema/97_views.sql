-- Lists of tasks and of failures that people keep under a name, what is to be told of them and of tasks, and to whom.

create table tasker_view (
  view_id     bigint generated always as identity primary key,
  name        text not null check (length(name) between 1 and 100),
  namespace   text,                         -- shared with all who may see its tasks, and holds none but those; null: its owner's alone
  owner_id    int not null references tasker_account,   -- who kept or changed it last: it is counted with this account's rights
  parameters  jsonb not null check (jsonb_typeof(parameters) = 'object'),   -- the list's query parameters
  changed_at  timestamptz not null,
  threshold   int check (threshold between 0 and 1000),   -- tell when more than so many match; null: tell nothing
  rest        interval not null default interval '15 minutes',   -- at least so long between two alerts
  webhook     text,                         -- where to
  secret      text,                         -- signs what is sent there
  email       text,
  link        text,                         -- of the view on the dashboard
  counted_at  timestamptz,                  -- when it was last to be counted
  count       int,                          -- what was found then, 1001 for more; of failures, the groups that nobody looks after and no later run has healed; null: that took too long, or its owner may not see it any more
  over_since  timestamptz,                  -- set while more match, from the alert to its end
  alerted_at  timestamptz,
  kind        text not null default 'tasks' check (kind in ('tasks', 'failures')),   -- of what it is a list
  is_least    boolean not null default false    -- older ones were not looked through when it was counted: there may have been more
);
create unique index tasker_view_shared on tasker_view (namespace, lower(name)) where namespace is not null;
create unique index tasker_view_private on tasker_view (owner_id, lower(name)) where namespace is null;
create index tasker_view_watched on tasker_view (counted_at nulls first) where threshold is not null;

-- who wants to be told when a task ends; gone when that is told
create table tasker_follower (
  follower_id  bigint generated always as identity primary key,
  task_no      bigint not null,
  account_id   int not null references tasker_account,
  channel      text not null check (channel in ('webhook', 'email')),
  target       text not null,
  link         text,                        -- of the task on the dashboard
  since        timestamptz not null,
  unique (task_no, account_id, channel, target)
);

-- what is to be told, once to each: tried again with longer and longer rests until it was taken
create table tasker_notice (
  notice_id     bigint generated always as identity primary key,
  view_id       bigint,
  task_no       bigint,
  channel       text not null check (channel in ('webhook', 'email')),
  target        text not null,
  secret        text,
  facts         jsonb not null,             -- what a webhook is sent, and an e-mail says in words
  created_at    timestamptz not null,
  due_at        timestamptz not null,
  attempts      int not null default 0,
  delivered_at  timestamptz,
  given_up_at   timestamptz,
  error         text,                       -- why the last attempt was in vain
  check (delivered_at is null or given_up_at is null)
);
create index tasker_notice_due on tasker_notice (due_at) where delivered_at is null and given_up_at is null;
create index tasker_notice_view on tasker_notice (view_id, notice_id) where view_id is not null;
create index tasker_notice_task on tasker_notice (task_no) where task_no is not null;
