"""Django's PostgreSQL backend, with connections that know an outage when they see one."""
