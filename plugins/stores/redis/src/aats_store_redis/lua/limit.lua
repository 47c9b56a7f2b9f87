-- Takes a permit by the generic cell rate algorithm, which keeps one time: until when permits are taken. Times are in
-- microseconds of the server's clock. Answers 0, or after how long to try again.
local each, span = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call("TIME")
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local taken = math.max(tonumber(redis.call("GET", KEYS[1]) or "0"), now) + each
if taken - now > span + 10 then return math.ceil(taken - now - span) end
redis.call("SET", KEYS[1], string.format("%.0f", taken), "PX", math.max(1, math.ceil((taken - now) / 1000)))
return 0
