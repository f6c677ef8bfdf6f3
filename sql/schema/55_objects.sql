-- Results that lie in an object store, because they are large. The step's own result then only tells people where; what it looks like decides nothing:
-- it stands for an object exactly if the step has a row here that names the same key.

create table tasker_object (
  task_no     bigint not null,
  step_no     int not null,
  key         text not null,                -- namespace/task/sha-256 of the content
  byte_count  bigint not null,
  primary key (task_no, step_no)
);

-- folders of the store, one per task, whose tasks are gone; each stands here until it is gone too
create table tasker_object_left (
  folder   text primary key,
  left_at  timestamptz not null
);
