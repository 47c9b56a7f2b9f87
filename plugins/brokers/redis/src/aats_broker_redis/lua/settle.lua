#!lua flags=allow-oom
-- Settle deliveries; one that was settled or taken back before is left alone.
-- ARGV: a packed list of {what, group, level, ...}
local settle = {}

-- Messages without a key are handled.
function settle.done(group, level, ids)
    local stream = root .. level .. ':' .. group
    call('XACK', stream, 'g', unpack(ids))
    call('XDEL', stream, unpack(ids))
end

-- A message of a lane is handled.
function settle.next(group, level, id, lane)
    local stream = root .. level .. ':' .. group
    if #call('XRANGE', stream, id, id) == 0 then return end
    advance(group, lane)
    remove(group, level, id)
end

settle.back = give_back
settle.dead = reject

for _, one in ipairs(cmsgpack.unpack(ARGV[3])) do settle[one[1]](unpack(one, 2)) end
wake()
return 1
