-- tasker_refuse_change: the trigger of a table that is only ever added to.
--   raises WF002 always
create or replace function tasker_refuse_change ()
  returns trigger
  language plpgsql
as $$
begin
  raise exception '% is only ever added to', tg_table_name using errcode = 'WF002';
end
$$;
