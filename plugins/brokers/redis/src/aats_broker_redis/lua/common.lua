-- What all scripts share; it stands before each of them. A script is one atomic step on the server.
--
-- KEYS[1] is the root of all keys of a team, with the hash tag that keeps them in one slot of a cluster.
-- ARGV[1] is the lease in milliseconds, ARGV[2] the attempts before a message is a dead letter.
--
-- A group is named `<topic or pattern>\0<name>`, a consumer `<client>.<number>`. Under the root, the key of
--   p1: ... p9:<group>   is a stream of messages that are delivered for the first time, one for each priority,
--   r1: ... r9:<group>   one of messages that are delivered again; each with one consumer group named `g`,
--   later:<group>        a sorted set of messages that have to wait, by the time at which they are due,
--   busy:<group>         a hash that counts the unsettled messages of each lane, which is a topic with a key,
--   lane:<group>\0<lane> a list of the messages behind the first one of a lane,
--   levels:<group>       a hash of the streams that exist, consumers:<group> is a set of consumers,
--   idle:<group>         a hash of the consumers that wait, each with its last wish and how many messages it may get,
--   dead:<topic>         a stream of dead letters.
-- What moves is written to its new place before it leaves the old one, so that running out of memory loses nothing.

local call = redis.call
local root = KEYS[1]
local lease, max_attempts = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local PRIORITIES = 9

local HANDED = 65536 -- bytes of messages that may lie in the output of the connection for wake-ups

local woken, made, bytes = {}, {}, {}

local function levels(group)
    return call('HKEYS', root .. 'levels:' .. group)
end

-- Hand out the most urgent messages of a group, of those streams that are given; returns their level and them, or nothing
-- where none is ready. One that was delivered before may be what killed its consumer: it goes alone, so that it takes no
-- other with it into another attempt.
local function hand_out(group, consumer, count, exists)
    for priority = 1, PRIORITIES do
        for _, kind in ipairs({'r', 'p'}) do
            local level = kind .. priority
            if exists[level] then
                local stream, most = root .. level .. ':' .. group, kind == 'r' and 1 or count
                local found = call('XREADGROUP', 'GROUP', 'g', consumer, 'COUNT', most, 'STREAMS', stream, '>')
                if found then return level, found[1][2] end
            end
        end
    end
end

-- Write nested lists of strings as an answer of the server is written.
local function written(value)
    if type(value) ~= 'table' then return '$' .. #value .. '\r\n' .. value .. '\r\n' end
    local parts = {'*' .. #value .. '\r\n'}
    for _, part in ipairs(value) do parts[#parts + 1] = written(part) end
    return table.concat(parts)
end

-- Hand messages that became ready to idle consumers, as many to each; those of a client that is gone are passed over.
-- What is too large for that they fetch themselves. Where a consumer is idle, nothing else is ready but what another one
-- was told to fetch.
local function wake()
    for group, count in pairs(woken) do
        local idle = root .. 'idle:' .. group
        while count > 0 do
            local found = call('HRANDFIELD', idle, count, 'WITHVALUES')
            if #found == 0 then break end
            for index = 1, #found, 2 do
                if count <= 0 then break end
                local consumer, wish, share = found[index], found[index + 1], math.ceil(count * 2 / (#found - index + 1))
                call('HDEL', idle, consumer)
                local channel = root .. 'wake:' .. string.match(consumer, '^[^.]+')
                if call('PUBSUB', 'NUMSUB', channel)[2] > 0 then
                    local number, room = string.match(wish, '(%d+) (%d+)')
                    local level, entries
                    if (bytes[group] or 0) <= HANDED then
                        level, entries = hand_out(group, consumer, math.min(share, tonumber(room)), made[group] or {})
                    end
                    call('PUBLISH', channel, written({consumer, number, level, entries}))
                    count = count - (entries and #entries or 1)
                end
            end
        end
    end
    woken, bytes = {}, {}
end

-- Put a message into the stream of its priority.
local function ready(group, entry)
    local level = (entry.a > 0 and 'r' or 'p') .. entry.p
    local stream = root .. level .. ':' .. group
    made[group] = made[group] or {}
    if not made[group][level] then
        if call('HSETNX', root .. 'levels:' .. group, level, 1) == 1 then
            call('XGROUP', 'CREATE', stream, 'g', '0', 'MKSTREAM')
        end
        made[group][level] = true
    end
    call('XADD', stream, '*', 'm', entry.m, 't', entry.t, 'k', entry.k, 'a', entry.a)
    woken[group] = (woken[group] or 0) + 1
    bytes[group] = (bytes[group] or 0) + #entry.m
end

-- Put a message into its stream, or among those for later.
local function admit(group, entry)
    if entry.due <= now then return ready(group, entry) end
    entry.s = call('INCR', root .. 'sequence')
    local later, member = root .. 'later:' .. group, cmsgpack.pack(entry)
    call('ZADD', later, entry.due, member)
    if call('ZRANK', later, member) == 0 then woken[group] = (woken[group] or 0) + 1 end
end

-- Add a new message to a group, behind the unsettled ones of its lane.
local function put(group, entry)
    if entry.k ~= '' then
        local lane = entry.t .. '\0' .. entry.k
        if call('HINCRBY', root .. 'busy:' .. group, lane, 1) > 1 then
            call('RPUSH', root .. 'lane:' .. group .. '\0' .. lane, cmsgpack.pack(entry))
            return
        end
    end
    admit(group, entry)
end

-- Let the next message of a lane go on.
local function advance(group, lane)
    local waiting = root .. 'lane:' .. group .. '\0' .. lane
    local following = call('LINDEX', waiting, 0)
    if following then
        admit(group, cmsgpack.unpack(following))
        call('LPOP', waiting)
        call('HINCRBY', root .. 'busy:' .. group, lane, -1)
    else
        call('HDEL', root .. 'busy:' .. group, lane)
    end
end

-- Make a dead letter of a message.
local function bury(entry, reason)
    local id = call('INCR', root .. 'sequence') .. '-0'
    local at = string.format('%d', now)
    call('SADD', root .. 'dead', entry.t)
    local letters = root .. 'dead:' .. entry.t
    call('XADD', letters, id, 'm', entry.m, 'k', entry.k, 'p', entry.p, 'a', entry.a, 'r', reason, 'w', at)
end

-- Return a message that is held, or nil where it was settled or taken back.
local function held(group, level, id)
    local found = call('XRANGE', root .. level .. ':' .. group, id, id)[1]
    if not found then return nil end
    local fields = found[2]
    return {
        m = fields[2], t = fields[4] or string.match(group, '^%Z*'), k = fields[6] or '', a = tonumber(fields[8]) or 0,
        p = tonumber(string.sub(level, 2)), due = 0,
    }
end

-- Take a message that was moved, or is done with, out of its stream.
local function remove(group, level, id)
    local stream = root .. level .. ':' .. group
    call('XACK', stream, 'g', id)
    call('XDEL', stream, id)
end

-- Give up a message, which was tried once more unless that is said, and let the next of its lane go on.
local function reject(group, level, id, reason, tried)
    local entry = held(group, level, id)
    if not entry then return end
    entry.a = entry.a + (tried or 1)
    bury(entry, reason)
    if entry.k ~= '' then advance(group, entry.t .. '\0' .. entry.k) end
    remove(group, level, id)
end

-- Deliver a message again after a while, or give it up after its last attempt.
local function give_back(group, level, id, delay, reason)
    local entry = held(group, level, id)
    if not entry then return call('XACK', root .. level .. ':' .. group, 'g', id) end
    if entry.a + 1 >= max_attempts then return reject(group, level, id, reason) end
    entry.a = entry.a + 1
    entry.due = now + delay
    admit(group, entry)
    remove(group, level, id)
end

-- Forget a group with all that waits for it.
local function destroy(group)
    for _, lane in ipairs(call('HKEYS', root .. 'busy:' .. group)) do
        call('UNLINK', root .. 'lane:' .. group .. '\0' .. lane)
    end
    for _, level in ipairs(levels(group)) do call('UNLINK', root .. level .. ':' .. group) end
    for _, part in ipairs({'levels', 'busy', 'later', 'idle', 'consumers'}) do
        call('UNLINK', root .. part .. ':' .. group)
    end
    call('SREM', root .. 'ephemeral', group)
    local topic, name = string.match(group, '^(%Z*)%z(.*)$')
    call('SREM', root .. 'groups:' .. topic, name)
    if call('SCARD', root .. 'groups:' .. topic) == 0 then
        call('SREM', root .. 'topics', topic)
        call('SREM', root .. 'wild', topic)
    end
end

-- Take a consumer away and give back what it holds, or end its group where that is its own. Where `tried` is known, what
-- is not in it was not handed out, and counts as not delivered.
local function leave(group, consumer, reason, tried)
    call('ZREM', root .. 'alive', consumer .. ' ' .. group)
    call('SREM', root .. 'consumers:' .. group, consumer)
    if call('HDEL', root .. 'idle:' .. group, consumer) == 0 then
        woken[group] = (woken[group] or 0) + 1 -- it may have been told to fetch something
    end
    if call('SISMEMBER', root .. 'ephemeral', group) == 1 and call('SCARD', root .. 'consumers:' .. group) == 0 then
        return destroy(group)
    end
    for _, level in ipairs(levels(group)) do
        local stream = root .. level .. ':' .. group
        local pending = call('XPENDING', stream, 'g', '-', '+', 1000, consumer)
        while #pending > 0 do
            for _, one in ipairs(pending) do
                local entry = tried and not tried[level .. one[1]] and held(group, level, one[1])
                if entry then
                    ready(group, entry)
                    remove(group, level, one[1])
                else
                    give_back(group, level, one[1], 0, reason)
                end
            end
            pending = call('XPENDING', stream, 'g', '-', '+', 1000, consumer)
        end
        call('XGROUP', 'DELCONSUMER', stream, 'g', consumer)
    end
end

-- Take away the consumers that were not heard of for a lease. After a start of the server nobody could be heard of,
-- so it waits for as long.
local function reap()
    local dead = call('ZRANGEBYSCORE', root .. 'alive', '-inf', string.format('%d', now), 'LIMIT', 0, 20)
    if #dead == 0 then return end
    local uptime = tonumber(string.match(call('INFO', 'server'), 'uptime_in_seconds:(%d+)'))
    if uptime * 1000 < lease then return end
    for _, member in ipairs(dead) do
        local consumer, group = string.match(member, '^(%S+) (.*)$')
        leave(group, consumer, 'its consumer died or lost its connection')
    end
end

local function fits(pattern, topic)
    local parts = {}
    for word in string.gmatch(pattern .. '.', '([^.]*)%.') do
        parts[#parts + 1] = word == '*' and '[^.]*' or string.gsub(word, '%W', '%%%0')
    end
    return string.find(topic, '^' .. table.concat(parts, '%.') .. '$') ~= nil
end

local routes, wild = {}, nil

-- Return the groups that a topic's messages reach.
local function route(topic)
    if routes[topic] then return routes[topic] end
    local found = {}
    for _, name in ipairs(call('SMEMBERS', root .. 'groups:' .. topic)) do found[#found + 1] = topic .. '\0' .. name end
    wild = wild or call('SMEMBERS', root .. 'wild')
    for _, pattern in ipairs(wild) do
        if pattern ~= topic and fits(pattern, topic) then
            for _, name in ipairs(call('SMEMBERS', root .. 'groups:' .. pattern)) do
                found[#found + 1] = pattern .. '\0' .. name
            end
        end
    end
    routes[topic] = found
    return found
end

-- Pass a new message on to every group of its topic.
local function publish(topic, data, key, priority, due)
    for _, group in ipairs(route(topic)) do
        put(group, {m = data, t = topic, k = key, a = 0, p = priority, due = due})
    end
end
