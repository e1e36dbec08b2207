-- What in the schema somebody else owns, or calls what somebody else owns: whoever owns a function decides what its callers do.
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
WITH here AS (
    SELECT oid, nspowner FROM pg_namespace WHERE nspname = 'halfstep'
), found (class, id, owner) AS (
    SELECT 'pg_class'::regclass, c.oid, c.relowner FROM pg_class c JOIN here h ON h.oid = c.relnamespace
    UNION ALL SELECT 'pg_proc'::regclass, p.oid, p.proowner FROM pg_proc p JOIN here h ON h.oid = p.pronamespace
    UNION ALL SELECT 'pg_type'::regclass, t.oid, t.typowner FROM pg_type t JOIN here h ON h.oid = t.typnamespace
    UNION ALL SELECT 'pg_operator'::regclass, o.oid, o.oprowner FROM pg_operator o JOIN here h ON h.oid = o.oprnamespace
    UNION ALL SELECT 'pg_opclass'::regclass, o.oid, o.opcowner FROM pg_opclass o JOIN here h ON h.oid = o.opcnamespace
    UNION ALL SELECT 'pg_opfamily'::regclass, o.oid, o.opfowner FROM pg_opfamily o JOIN here h ON h.oid = o.opfnamespace
    UNION ALL SELECT 'pg_collation'::regclass, c.oid, c.collowner FROM pg_collation c JOIN here h ON h.oid = c.collnamespace
    UNION ALL SELECT 'pg_conversion'::regclass, c.oid, c.conowner FROM pg_conversion c JOIN here h ON h.oid = c.connamespace
    UNION ALL SELECT 'pg_statistic_ext'::regclass, s.oid, s.stxowner FROM pg_statistic_ext s JOIN here h ON h.oid = s.stxnamespace
    UNION ALL SELECT 'pg_ts_config'::regclass, t.oid, t.cfgowner FROM pg_ts_config t JOIN here h ON h.oid = t.cfgnamespace
    UNION ALL SELECT 'pg_ts_dict'::regclass, t.oid, t.dictowner FROM pg_ts_dict t JOIN here h ON h.oid = t.dictnamespace
), used (class, id, function) AS (  -- by triggers, defaults, checks, policies, rules and views, indexes; a superuser may be trusted
    SELECT 'pg_trigger'::regclass, t.oid, t.tgfoid FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid JOIN here h ON h.oid = c.relnamespace
    WHERE NOT t.tgisinternal
    UNION ALL
    SELECT d.classid, d.objid, d.refobjid FROM pg_depend d
    WHERE d.refclassid = 'pg_proc'::regclass AND (d.classid, d.objid) IN (
        SELECT 'pg_attrdef'::regclass, a.oid FROM pg_attrdef a JOIN pg_class c ON c.oid = a.adrelid JOIN here h ON h.oid = c.relnamespace
        UNION ALL SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN here h ON h.oid = k.connamespace
        UNION ALL SELECT 'pg_policy'::regclass, y.oid FROM pg_policy y JOIN pg_class c ON c.oid = y.polrelid JOIN here h ON h.oid = c.relnamespace
        UNION ALL SELECT 'pg_rewrite'::regclass, w.oid FROM pg_rewrite w JOIN pg_class c ON c.oid = w.ev_class JOIN here h ON h.oid = c.relnamespace
        UNION ALL SELECT 'pg_class'::regclass, c.oid FROM pg_class c JOIN here h ON h.oid = c.relnamespace)
)
SELECT pg_describe_object(f.class, f.id, 0) AS object, pg_get_userbyid(f.owner)::text AS owner
FROM found f CROSS JOIN here h WHERE f.owner <> h.nspowner
UNION
SELECT pg_describe_object(u.class, u.id, 0), pg_get_userbyid(p.proowner)::text
FROM used u JOIN pg_proc p ON p.oid = u.function JOIN pg_roles r ON r.oid = p.proowner CROSS JOIN here h
WHERE p.proowner <> h.nspowner AND NOT r.rolsuper
ORDER BY object
