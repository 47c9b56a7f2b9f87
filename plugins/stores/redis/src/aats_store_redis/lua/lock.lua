-- Takes a lock that nobody holds, by the server's clock in milliseconds. Answers its token and 0, or 0 and for how long
-- somebody else holds it.
local holder, ttl = ARGV[1], tonumber(ARGV[2])
local time = redis.call("TIME")
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
local until_ = tonumber(redis.call("HGET", KEYS[1], "until") or "0")
if until_ > now and redis.call("HGET", KEYS[1], "holder") ~= holder then return { 0, until_ - now } end
local token = redis.call("HINCRBY", KEYS[1], "token", 1)
redis.call("HSET", KEYS[1], "holder", holder, "until", string.format("%.0f", now + ttl))
return { token, 0 }
