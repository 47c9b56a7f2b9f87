-- Reads or changes the fields of a session, which then lives on. Answers its fields and their values; nothing where there
-- is no such session. With a time to live in milliseconds it is made.
local ttl = tonumber(ARGV[1])
if ttl > 0 then redis.call("HSET", KEYS[1], "ttl", ARGV[1]) end
ttl = redis.call("HGET", KEYS[1], "ttl")
if not ttl then return {} end
for at = 2, #ARGV, 2 do
  if ARGV[at + 1] == "" then
    redis.call("HDEL", KEYS[1], ARGV[at])
  else
    redis.call("HSET", KEYS[1], ARGV[at], ARGV[at + 1])
  end
end
redis.call("PEXPIRE", KEYS[1], ttl)
return redis.call("HGETALL", KEYS[1])
