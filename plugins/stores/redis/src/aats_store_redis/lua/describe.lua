-- Writes what a collection is, unless somebody else has done so since: its generation, and a description of it. What an
-- earlier attempt has left of the indexes that are new is removed.
local root, name, old, new, description = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if (redis.call("HGET", root .. "g", name) or "0") ~= old then return 0 end
redis.call("HSET", root .. "g", name, new)
redis.call("HSET", root .. "c", name, description)
for at = 5, #ARGV do
  redis.call("DEL", root .. "i:" .. name .. ":" .. ARGV[at])
  for _, claim in ipairs(redis.call("HKEYS", root .. "u:" .. name)) do
    if string.find(claim, ARGV[at] .. ":", 1, true) == 1 then redis.call("HDEL", root .. "u:" .. name, claim) end
  end
end
return 1
