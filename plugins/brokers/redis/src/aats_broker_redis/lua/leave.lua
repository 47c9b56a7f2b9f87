#!lua flags=allow-oom
-- Take a consumer away; what it had not handed out is given back uncounted.
-- ARGV: group, consumer, a packed list of {level, id} that were handed out
local tried = {}
for _, one in ipairs(cmsgpack.unpack(ARGV[5])) do tried[one[1] .. one[2]] = true end
leave(ARGV[3], ARGV[4], 'its consumer left without settling it', tried)
wake()
return 1
