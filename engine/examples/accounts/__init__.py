"""New users: `accounts/user_registration` asks a service over HTTP for every step, as microservices do."""
