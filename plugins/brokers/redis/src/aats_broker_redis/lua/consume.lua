#!lua flags=allow-oom
-- Settle deliveries, then hand out messages to consumers.
-- ARGV: a packed list of {what, group, level, ...}, where one that was settled or taken back before is left alone,
--       a packed list of {group, consumer, count, number of the wish, whether an earlier one waits, unsure}
-- Returns for each wish {level, entries, ...}, a group's messages of one priority; all that the consumer has already
-- where it is unsure; {milliseconds until one is due or -1, 1} where nothing is ready, and the consumer is woken with
-- that number when something is; {-1, 0} where the wake-up for the earlier wish is on its way; and nothing where the
-- consumer is not registered, or not any more.
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

-- Move what is due into the streams, and return when the next is, or nothing.
local function move_due(group)
    local later = root .. 'later:' .. group
    local first = call('ZRANGE', later, 0, 0, 'WITHSCORES')[2]
    if not first or tonumber(first) > now then return first end
    local due = call('ZRANGEBYSCORE', later, '-inf', string.format('%d', now), 'LIMIT', 0, 100)
    for _, member in ipairs(due) do
        ready(group, cmsgpack.unpack(member))
        call('ZREM', later, member)
    end
    return call('ZRANGE', later, 0, 0, 'WITHSCORES')[2]
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
    if #answer == 0 then return {0, 0} end
    return answer
end

local function take(group, consumer, count, number, waits, unsure)
    if not call('ZSCORE', root .. 'alive', consumer .. ' ' .. group) then return {} end
    local idle = root .. 'idle:' .. group
    local waited = call('HDEL', idle, consumer) == 1
    if unsure then return repeated(group, consumer) end
    if waits and not waited then return {-1, 0} end
    local first, exists = move_due(group), {}
    for _, level in ipairs(levels(group)) do exists[level] = true end
    local level, entries = hand_out(group, consumer, count, exists)
    if level then return {level, entries} end
    call('HSET', idle, consumer, number .. ' ' .. count)
    return {first and math.max(0, first - now) or -1, 1}
end

for _, one in ipairs(cmsgpack.unpack(ARGV[3])) do settle[one[1]](unpack(one, 2)) end
wake()
local answers = {}
for index, asked in ipairs(cmsgpack.unpack(ARGV[4])) do answers[index] = take(unpack(asked)) end
wake()
return answers
