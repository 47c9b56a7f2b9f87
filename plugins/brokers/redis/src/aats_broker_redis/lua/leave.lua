#!lua flags=allow-oom
-- Take a consumer away; what it had not handed out is given back uncounted.
-- ARGV: group, consumer, a packed list of {level, id} that were not handed out
local group = ARGV[3]
for _, unread in ipairs(cmsgpack.unpack(ARGV[5])) do
    local entry = held(group, unread[1], unread[2])
    if entry then
        ready(group, entry)
        remove(group, unread[1], unread[2])
    end
end
leave(group, ARGV[4], 'its consumer left without settling it')
wake()
return 1
