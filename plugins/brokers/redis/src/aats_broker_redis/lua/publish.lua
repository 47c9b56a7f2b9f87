#!lua
-- Publish a batch, unless that is a repetition of one that got through although its answer did not.
-- ARGV: client, number of the batch, milliseconds to remember it, a packed list of {topic, key, priority, due}, data...
local sent = root .. 'sent:' .. ARGV[3]
local last = call('GET', sent)
if last and tonumber(last) >= tonumber(ARGV[4]) then
    call('PEXPIRE', sent, ARGV[5]) -- written, so that who waits for replicas waits for all before it too
    return 0
end
reap()
for index, header in ipairs(cmsgpack.unpack(ARGV[6])) do
    publish(header[1], ARGV[6 + index], header[2], header[3], header[4])
end
call('SET', sent, ARGV[4], 'PX', ARGV[5])
wake()
return 1
