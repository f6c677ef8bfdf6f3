-- tasker_archives: where each namespace's tasks are written before they are dropped, as it was set for it, else as the default says, and how that goes.
create or replace view tasker_archives as
select n.namespace, case when a.set_at is null then d.place else a.place end as place, a.set_at is null as by_default,
       coalesce(a.set_by, d.set_by) as set_by, coalesce(a.set_at, d.set_at) as set_at,
       coalesce(s.task_count, 0) as task_count, s.written_at, s.error, s.failed_at
  from tasker_namespace n
  left join tasker_archive a on a.namespace = n.namespace
  left join tasker_archive d on d.namespace is null
  left join tasker_archive_state s on s.namespace = n.namespace;
