-- How a step, or the task itself (step_no null), stands in what an operator's action can change: what a preview compares.
create type tasker_standing as (
  step_no      int,
  map_no       int,                         -- of an item: its map step
  item_no      int,
  state        smallint,
  attempts     smallint,
  finished_at  timestamptz,
  paused       boolean,
  stopping     boolean,                     -- asked to stop
  bypass       boolean,
  blocked      boolean,                     -- waits behind a failed step
  live         boolean,                     -- false for an item of before, whose map step has made others since
  context      jsonb                        -- of the task
);
