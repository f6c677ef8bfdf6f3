drop view if exists tasker_tasks;

drop view if exists tasker_steps;

drop view if exists tasker_logs;

drop view if exists tasker_archives;

drop function if exists tasker_worker_steps;

drop function if exists tasker_words_query;

drop function if exists tasker_words;

drop function if exists tasker_without_secrets;

drop function if exists tasker_withdraw_deliveries;

drop function if exists tasker_wake_due;

drop function if exists tasker_version_rank;

drop function if exists tasker_use_token;

drop function if exists tasker_use_sign_in_link;

drop function if exists tasker_use_session;

drop function if exists tasker_use_second_factor;

drop function if exists tasker_update_step_status;

drop function if exists tasker_unlock_children;

drop function if exists tasker_tell_follower;

drop function if exists tasker_task_record;

drop function if exists tasker_task_no_at;

drop function if exists tasker_task_no;

drop function if exists tasker_task_figures;

drop function if exists tasker_task_bins;

drop function if exists tasker_take_views;

drop function if exists tasker_take_subscription;

drop function if exists tasker_take_step;

drop function if exists tasker_take_place;

drop function if exists tasker_take_old_tasks;

drop function if exists tasker_take_notices;

drop function if exists tasker_take_delivery_words;

drop function if exists tasker_take_deliveries;

drop function if exists tasker_sweep_places;

drop function if exists tasker_subscribe;

drop procedure if exists tasker_submit_tasks;

drop function if exists tasker_stop_batch;

drop function if exists tasker_steps_in_hand;

drop function if exists tasker_step_readiness;

drop function if exists tasker_step_place;

drop function if exists tasker_step_no;

drop function if exists tasker_step_name;

drop function if exists tasker_step_id;

drop function if exists tasker_step_figures;

drop function if exists tasker_step_bins;

drop function if exists tasker_state_name;

drop function if exists tasker_state_code;

drop function if exists tasker_stand;

drop function if exists tasker_skip_step;

drop function if exists tasker_sign_out;

drop function if exists tasker_set_zone;

drop function if exists tasker_set_second_factor;

drop function if exists tasker_set_retention;

drop function if exists tasker_set_password;

drop function if exists tasker_set_limit;

drop function if exists tasker_set_default_retention;

drop function if exists tasker_set_archive;

drop function if exists tasker_seen;

drop function if exists tasker_searchable;

drop function if exists tasker_say_delivery;

drop function if exists tasker_satisfy_step;

drop function if exists tasker_run_batches;

drop function if exists tasker_roll_up;

drop function if exists tasker_revoke_token;

drop function if exists tasker_revoke_role;

drop function if exists tasker_retry_task;

drop function if exists tasker_retry_step;

drop function if exists tasker_retry_downstream;

drop function if exists tasker_retire_worker;

drop function if exists tasker_retention_begin;

drop view if exists tasker_retentions;

drop function if exists tasker_resume_task;

drop function if exists tasker_resume_schedule;

drop function if exists tasker_resolve_step;

drop function if exists tasker_resolve_dependencies;

drop function if exists tasker_reset_limit;

drop function if exists tasker_rescue_steps;

drop function if exists tasker_remove_view;

drop function if exists tasker_remove_schedule;

drop function if exists tasker_remove_role;

drop function if exists tasker_remove_preset;

drop function if exists tasker_release_steps;

drop function if exists tasker_rehash_password;

drop function if exists tasker_register_worker;

drop function if exists tasker_register_definition;

drop function if exists tasker_refuse_spent;

drop function if exists tasker_refuse_cancelled;

drop function if exists tasker_recount_task;

drop function if exists tasker_recount_due;

drop function if exists tasker_record_delivery;

drop function if exists tasker_reap_workers;

drop function if exists tasker_ready_since;

drop function if exists tasker_read_tasks;

drop function if exists tasker_read_results;

drop function if exists tasker_read_items;

drop function if exists tasker_read_endings;

drop function if exists tasker_publish_event;

drop function if exists tasker_prune_rollups;

drop function if exists tasker_preview;

drop function if exists tasker_postpone_event;

drop function if exists tasker_post_deliveries;

drop function if exists tasker_place_state;

drop function if exists tasker_pick_steps;

drop function if exists tasker_pick_in_turn;

drop function if exists tasker_pause_task;

drop function if exists tasker_pause_schedule;

drop function if exists tasker_pass_over;

drop function if exists tasker_owner_grants;

drop function if exists tasker_old_tasks;

drop function if exists tasker_note_task;

drop function if exists tasker_note_sign_in;

drop function if exists tasker_note_schedule_run;

drop function if exists tasker_note_count;

drop function if exists tasker_note_archive;

drop function if exists tasker_next_event;

drop function if exists tasker_need_role;

drop function if exists tasker_need_admin;

drop function if exists tasker_move_exists;

drop function if exists tasker_measure_moves;

drop function if exists tasker_make_token;

drop function if exists tasker_make_sign_in_link;

drop function if exists tasker_make_batch;

drop function if exists tasker_look_at_places;

drop function if exists tasker_look_again;

drop function if exists tasker_line_up;

drop function if exists tasker_line_due;

drop function if exists tasker_limit_seen;

drop function if exists tasker_limit_reason;

drop function if exists tasker_limit_key;

drop function if exists tasker_level_name;

drop function if exists tasker_leave_subscriptions;

drop function if exists tasker_leave_queue;

drop function if exists tasker_leave_line;

drop function if exists tasker_lay_aside_event;

drop function if exists tasker_read_events;

drop function if exists tasker_latest_tasks;

drop function if exists tasker_last_event;

drop function if exists tasker_lanes;

drop function if exists tasker_known_heads;

drop function if exists tasker_keep_visitor;

drop function if exists tasker_keep_view;

drop function if exists tasker_keep_role;

drop function if exists tasker_keep_preset;

drop function if exists tasker_keep_objects;

drop function if exists tasker_keep_journal;

drop function if exists tasker_keep_failure_note;

drop function if exists tasker_is_passed_over;

drop function if exists tasker_index_words;

drop function if exists tasker_hold_tasks;

drop function if exists tasker_hold_steps;

drop function if exists tasker_hold_queues;

drop function if exists tasker_hide_keys;

drop function if exists tasker_heartbeat;

drop function if exists tasker_heads;

drop function if exists tasker_grants;

drop function if exists tasker_grant_role;

drop function if exists tasker_get_ready_steps;

drop function if exists tasker_gather_items;

drop function if exists tasker_gate_reason;

drop function if exists tasker_front;

drop function if exists tasker_free_places;

drop function if exists tasker_free_count;

drop function if exists tasker_forget_tasks;

drop function if exists tasker_forget_subscription;

drop function if exists tasker_follow_task;

drop function if exists tasker_follow_retention;

drop function if exists tasker_follow_archive;

drop function if exists tasker_find_tasks;

drop function if exists tasker_find_steps;

drop function if exists tasker_find_heads;

drop function if exists tasker_fail_steps;

drop function if exists tasker_expand_step;

drop function if exists tasker_event_horizon;

drop function if exists tasker_end_sign_in;

drop function if exists tasker_end_sessions;

drop function if exists tasker_end_session;

drop function if exists tasker_end_notice;

drop function if exists tasker_end_delivery;

drop function if exists tasker_enable_account;

drop function if exists tasker_effects;

drop function if exists tasker_drop_tasks;

drop function if exists tasker_drop_notices;

drop function if exists tasker_drop_deliveries;

drop function if exists tasker_drop_batches;

drop function if exists tasker_downstream;

drop function if exists tasker_disable_account;

drop function if exists tasker_delivery_results;

drop function if exists tasker_result_text;

drop function if exists tasker_declare_limits;

drop function if exists tasker_decide_steps;

drop function if exists tasker_create_tasks;

drop function if exists tasker_create_plain_task;

drop function if exists tasker_create_account;

drop function if exists tasker_count_off;

drop function if exists tasker_count_moves;

drop function if exists tasker_count_failures;

drop function if exists tasker_span_begin;

drop function if exists tasker_failure_key;

drop function if exists tasker_error_signature;

drop function if exists tasker_complete_few;

drop function if exists tasker_complete_batch;

drop function if exists tasker_complete_and_claim;

drop function if exists tasker_clear_objects;

drop function if exists tasker_claim_steps;

drop function if exists tasker_claim_due_schedules;

drop function if exists tasker_cancel_task;

drop function if exists tasker_cancel_step;

drop function if exists tasker_cancel_requests;

drop function if exists tasker_block_descendants;

drop function if exists tasker_bins;

drop function if exists tasker_bin_limits;

drop function if exists tasker_begin_sign_in;

drop function if exists tasker_begin_session;

drop function if exists tasker_begin_delivery;

drop function if exists tasker_beat_place;

drop function if exists tasker_backoff;

drop function if exists tasker_audit_note;

drop function if exists tasker_advance_schedule;

drop function if exists tasker_admit_steps;

drop function if exists tasker_admit_line;

drop function if exists tasker_add_schedule;

drop function if exists tasker_clock;

drop function if exists tasker_add_bins;

drop function if exists tasker_act;

drop function if exists tasker_account_no;

drop function if exists tasker_accept_undelivered;

drop table if exists tasker_notice;
drop table if exists tasker_follower;
drop table if exists tasker_view;

drop table if exists tasker_database_role;

drop table if exists tasker_audit;
drop table if exists tasker_sign_in;
drop table if exists tasker_sign_in_link;
drop table if exists tasker_token;
drop table if exists tasker_session;
drop table if exists tasker_grant;
drop table if exists tasker_role;
drop table if exists tasker_account;

drop function if exists tasker_refuse_change;

drop type if exists tasker_standing;

drop table if exists tasker_progress;
drop table if exists tasker_log;

drop table if exists tasker_words_place;
drop table if exists tasker_step_words;
drop table if exists tasker_task_words;

drop table if exists tasker_archive_state;
drop table if exists tasker_archive;

drop table if exists tasker_line;
drop table if exists tasker_place;
drop table if exists tasker_waiting;
drop table if exists tasker_limit;
drop table if exists tasker_lane;

drop table if exists tasker_failure_rollup;
drop table if exists tasker_failure_note;

drop table if exists tasker_rollup_wait;
drop table if exists tasker_rollup_place;
drop table if exists tasker_step_rollup;
drop table if exists tasker_task_rollup;

drop table if exists tasker_batch_item;
drop table if exists tasker_batch;

drop table if exists tasker_preset;

drop table if exists tasker_schedule;

drop table if exists tasker_custom_event;
drop table if exists tasker_undelivered;
drop table if exists tasker_subscription;

drop table if exists tasker_object_left;
drop table if exists tasker_object;

drop table if exists tasker_history;

drop table if exists tasker_delivery_place;
drop table if exists tasker_delivery_word;
drop table if exists tasker_delivery;

drop table if exists tasker_claim;
drop table if exists tasker_worker;

drop table if exists tasker_request_key;
drop table if exists tasker_delayed;
drop type if exists tasker_head;
drop table if exists tasker_ready;
drop table if exists tasker_step;
drop table if exists tasker_task;

drop table if exists tasker_template;
drop table if exists tasker_definition;
drop table if exists tasker_retention_default;
drop table if exists tasker_namespace;

drop sequence if exists tasker_task_no;
