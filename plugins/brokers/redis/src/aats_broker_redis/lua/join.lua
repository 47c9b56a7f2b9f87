#!lua
-- Register a consumer, and its group where there is none yet.
-- ARGV: topic or pattern, name of the group, consumer, 1 where the group ends with the consumer
local topic, name, consumer = ARGV[3], ARGV[4], ARGV[5]
local group = topic .. '\0' .. name
reap()
call('SADD', root .. 'topics', topic)
call('SADD', root .. 'groups:' .. topic, name)
if string.find(topic, '*', 1, true) then call('SADD', root .. 'wild', topic) end
if ARGV[6] == '1' then call('SADD', root .. 'ephemeral', group) end
call('SADD', root .. 'consumers:' .. group, consumer)
call('ZADD', root .. 'alive', string.format('%d', now + lease), consumer .. ' ' .. group)
wake()
return 1
