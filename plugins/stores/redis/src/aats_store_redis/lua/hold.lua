-- Holds a lock for that many milliseconds more, or lets it go and rings its bell where these are 0. Answers whether it
-- was held.
local holder, ttl = ARGV[1], tonumber(ARGV[2])
if redis.call("HGET", KEYS[1], "holder") ~= holder then return 0 end
if ttl == 0 then
  redis.call("HDEL", KEYS[1], "holder", "until")
  redis.call("PUBLISH", KEYS[1], "")
  return 1
end
local time = redis.call("TIME")
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
redis.call("HSET", KEYS[1], "until", string.format("%.0f", now + ttl))
return 1
