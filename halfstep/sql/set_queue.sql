-- A queue as an administrator wants it; what is null stays as it is.
INSERT INTO halfstep.queue AS q (name, weight, operators, placements)
VALUES (%(queue)s, coalesce(%(weight)s::int, 1), %(operators)s::text[], %(placements)s::text[])
ON CONFLICT (name) DO UPDATE SET weight = coalesce(%(weight)s::int, q.weight),
    operators = CASE WHEN %(any_operator)s THEN NULL ELSE coalesce(%(operators)s::text[], q.operators) END,
    placements = CASE WHEN %(any_placement)s THEN NULL ELSE coalesce(%(placements)s::text[], q.placements) END
