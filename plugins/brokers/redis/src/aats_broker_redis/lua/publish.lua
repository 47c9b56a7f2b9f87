#!lua
-- Publish a batch, unless that is a repetition of one that got through although its answer did not.
-- ARGV: client, number of the batch, milliseconds to remember it, a packed list of {topic, key, priority, due}, data...
local REAPED = 16 -- batches of a client after which dead consumers are looked for; others do so too
local sent, number = root .. 'sent:' .. ARGV[3], tonumber(ARGV[4])
local last = call('SET', sent, ARGV[4], 'PX', ARGV[5], 'GET')
if last and tonumber(last) >= number then
    call('SET', sent, last, 'PX', ARGV[5])
    return 0
end
if number % REAPED == 0 then reap() end
for index, header in ipairs(cmsgpack.unpack(ARGV[6])) do
    publish(header[1], ARGV[6 + index], header[2], header[3], header[4])
end
wake()
return 1
