#!lua
-- Return {topics, dead}: {topic, {{group, consumers, waiting, held}, ...}} and {topic, dead letters} each.
reap()
wake()

local function status(topic, name)
    local group = topic .. '\0' .. name
    local waiting, held = call('ZCARD', root .. 'later:' .. group), 0
    for _, count in ipairs(call('HVALS', root .. 'busy:' .. group)) do waiting = waiting + count - 1 end
    for _, level in ipairs(levels(group)) do
        local stream = root .. level .. ':' .. group
        local pending = call('XPENDING', stream, 'g')[1]
        held = held + pending
        waiting = waiting + call('XLEN', stream) - pending
    end
    return {name, call('SCARD', root .. 'consumers:' .. group), waiting, held}
end

local topics, dead = {}, {}
for _, topic in ipairs(call('SMEMBERS', root .. 'topics')) do
    local groups = {}
    for _, name in ipairs(call('SMEMBERS', root .. 'groups:' .. topic)) do groups[#groups + 1] = status(topic, name) end
    topics[#topics + 1] = {topic, groups}
end
for _, topic in ipairs(call('SMEMBERS', root .. 'dead')) do
    dead[#dead + 1] = {topic, call('XLEN', root .. 'dead:' .. topic)}
end
return {topics, dead}
