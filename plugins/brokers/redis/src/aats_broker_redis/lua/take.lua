#!lua flags=allow-oom
-- Hand out messages to consumers.
-- ARGV: a packed list of {group, consumer, count, unsure}
-- Returns for each {level, entries, ...}, a group's messages of one priority; all that the consumer has already where
-- it is unsure; {milliseconds until one is due or -1} where nothing is ready, and the consumer is woken when something
-- is; and nothing where the consumer is not registered, or not any more.

-- Move what is due into the streams.
local function move_due(group)
    local later = root .. 'later:' .. group
    local due = call('ZRANGEBYSCORE', later, '-inf', string.format('%d', now), 'LIMIT', 0, 100)
    for _, member in ipairs(due) do
        ready(group, cmsgpack.unpack(member))
        call('ZREM', later, member)
    end
end

-- Return what the consumer was handed out and has not settled.
local function repeated(group, consumer)
    local answer = {}
    for _, level in ipairs(levels(group)) do
        local stream, entries = root .. level .. ':' .. group, {}
        local found = call('XREADGROUP', 'GROUP', 'g', consumer, 'STREAMS', stream, '0')
        for _, entry in ipairs(found and found[1][2] or {}) do
            if entry[2] then entries[#entries + 1] = entry end
        end
        if #entries > 0 then
            answer[#answer + 1] = level
            answer[#answer + 1] = entries
        end
    end
    if #answer == 0 then return {0} end
    return answer
end

-- A message that was delivered before may be what killed its consumer: it is handed out alone, so that it takes no
-- other with it into another attempt.
local function take(group, consumer, count, unsure)
    if not call('ZSCORE', root .. 'alive', consumer .. ' ' .. group) then return {} end
    if unsure then return repeated(group, consumer) end
    move_due(group)
    local exists = {}
    for _, level in ipairs(levels(group)) do exists[level] = true end
    for priority = 1, PRIORITIES do
        for _, kind in ipairs({'r', 'p'}) do
            local level = kind .. priority
            if exists[level] then
                local stream, most = root .. level .. ':' .. group, kind == 'r' and 1 or count
                local found = call('XREADGROUP', 'GROUP', 'g', consumer, 'COUNT', most, 'STREAMS', stream, '>')
                if found then return {level, found[1][2]} end
            end
        end
    end
    call('SADD', root .. 'idle:' .. group, consumer)
    local first = call('ZRANGE', root .. 'later:' .. group, 0, 0, 'WITHSCORES')[2]
    return {first and math.max(0, first - now) or -1}
end

local answers = {}
for index, asked in ipairs(cmsgpack.unpack(ARGV[3])) do answers[index] = take(unpack(asked)) end
wake()
return answers
