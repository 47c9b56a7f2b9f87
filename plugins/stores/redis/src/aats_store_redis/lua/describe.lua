-- Writes what a collection is, unless somebody else has done so since: its generation, and a description of it.
local root, name, old, new, description = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if (redis.call("HGET", root .. "g", name) or "0") ~= old then return 0 end
redis.call("HSET", root .. "g", name, new)
redis.call("HSET", root .. "c", name, description)
return 1
