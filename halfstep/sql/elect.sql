-- One holder a role: whoever holds it already, or the first to ask after it ran out.
INSERT INTO halfstep.election AS e (role, holder, name, expires_at)
VALUES (%(role)s, %(holder)s::uuid, %(name)s, clock_timestamp() + make_interval(secs => %(seconds)s))
ON CONFLICT (role) DO UPDATE SET holder = excluded.holder, name = excluded.name, expires_at = excluded.expires_at
    WHERE e.holder = excluded.holder OR e.expires_at <= clock_timestamp()
RETURNING role
