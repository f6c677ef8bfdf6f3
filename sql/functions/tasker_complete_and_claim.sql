-- tasker_complete_and_claim: the engine's one round trip: report what ended well, take on more.
--   p_claim_no     the engine's own running number of this call; p_closed_claims: earlier ones of which every step has ended
--   p_want         steps it has room for; unlocked children are handed over first, at most p_hand of them (null: as many as there is room for)
--   p_definitions  what it has handlers for; then the queue is asked for the rest. Null: it knows the queue to be empty
--   returns the steps that are now leased to the worker, at most p_want
--   raises WF003 when the worker's lease is over; then nothing of this call holds
create or replace function tasker_complete_and_claim
  (p_worker int, p_claim_no int, p_task_nos bigint[], p_step_nos int[], p_attempts smallint[], p_results jsonb, p_want int,
   p_definitions int[], p_closed_claims int[], p_hand int default null)
  returns table (task_no bigint, step_no int, definition_id int, attempt smallint)
  language plpgsql
as $$
#variable_conflict use_column
declare
  v_handed int := 0;
  v_hand int := coalesce(p_hand, p_want);
begin
  if p_closed_claims is not null then
    delete from tasker_claim c where c.worker_id = p_worker and c.claim_no = any(p_closed_claims);
  end if;
  if cardinality(p_task_nos) > 3 then
    return query select * from tasker_complete_batch(p_worker, p_claim_no, p_task_nos, p_step_nos, p_attempts, p_results, v_hand);
    get diagnostics v_handed = row_count;
  elsif cardinality(p_task_nos) > 0 then
    return query select * from tasker_complete_few(p_worker, p_claim_no, p_task_nos, p_step_nos, p_attempts, p_results, v_hand);
    get diagnostics v_handed = row_count;
  end if;
  if p_definitions is not null and p_want > v_handed then
    return query select * from tasker_claim_steps(p_worker, p_claim_no, p_want - v_handed, p_definitions);
  elsif cardinality(p_task_nos) not between 1 and 3 and not exists (select from tasker_worker w where w.worker_id = p_worker and w.lease_until > tasker_clock()) then
    raise exception 'the lease of worker % is over', p_worker using errcode = 'WF003';
  end if;
end
$$;
