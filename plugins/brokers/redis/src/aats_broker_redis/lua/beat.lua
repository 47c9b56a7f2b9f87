#!lua flags=allow-oom
-- Say that consumers are alive, and take away those that are not.
-- ARGV: a packed list of {consumer, group}; returns those that are not registered, or not any more
local gone = {}
for _, one in ipairs(cmsgpack.unpack(ARGV[3])) do
    local member = one[1] .. ' ' .. one[2]
    if call('ZSCORE', root .. 'alive', member) then
        call('ZADD', root .. 'alive', string.format('%d', now + lease), member)
    else
        gone[#gone + 1] = one[1]
    end
end
reap()
wake()
return gone
