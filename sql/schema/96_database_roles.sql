-- Which roles of the database server the engine and the dashboard connect as, where they have roles of their own; `tasker db roles` writes here,
-- and every migration grants them anew what they need.

create table tasker_database_role (
  part       text primary key check (part in ('engine', 'web')),
  role_name  text not null,
  unique (role_name)
);
