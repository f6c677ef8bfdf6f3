-- tasker_retentions: how long each namespace keeps a task after its end: as it was set for it, else as the default says. Null: for ever.
create or replace view tasker_retentions as
select n.namespace, case when n.retention_set_at is null then d.retention else n.retention end as retention,
       n.retention_set_at is null as by_default,
       case when n.retention_set_at is null then d.set_by else n.retention_set_by end as set_by,
       case when n.retention_set_at is null then d.set_at else n.retention_set_at end as set_at
  from tasker_namespace n
  left join tasker_retention_default d on d.only_row;
