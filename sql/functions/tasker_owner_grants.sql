-- tasker_owner_grants: what an account was granted, for what is done in its name while it is not signed in; nothing when it is disabled.
create or replace function tasker_owner_grants (p_account_id int)
  returns jsonb
  language plpgsql stable
as $$
begin
  return (select tasker_grants(a.account_id) from tasker_account a where a.account_id = p_account_id and not a.disabled);
end
$$;
