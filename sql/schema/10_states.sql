-- The words of a life: every state is a small number in the tables and a word everywhere else.
--   step: 0 pending    waits for its parents
--         1 ready      may run now; has exactly one row in tasker_ready
--         2 running    leased to one engine; counts as an attempt from here on
--         3 retrying   waits for its back-off; has exactly one row in tasker_delayed
--         4 completed  the handler returned
--         5 failed     permanent error, or every attempt used up; only an operator leads out
--         6 cancelled  an operator stopped it
--         7 skipped    bypassed on request or by an operator; children go on
--         8 resolved   an operator supplied the outcome; counts as completed
--   task: 0 pending, 2 running, 4 completed, 5 failed, 6 cancelled, 8 resolved, with the same numbers.

create sequence tasker_task_no;
