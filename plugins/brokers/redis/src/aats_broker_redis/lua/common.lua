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
--   levels:<group>       a hash of the streams that exist, consumers:<group> and idle:<group> are sets of consumers,
--   dead:<topic>         a stream of dead letters.
-- What moves is written to its new place before it leaves the old one, so that running out of memory loses nothing.

local call = redis.call
local root = KEYS[1]
local lease, max_attempts = tonumber(ARGV[1]), tonumber(ARGV[2])
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local PRIORITIES = 9

local woken, made = {}, {}

-- Let as many idle consumers of each group look as messages became ready.
local function wake()
    for group, count in pairs(woken) do
        while count > 0 do
            local consumer = call('SPOP', root .. 'idle:' .. group)
            if not consumer then break end
            local client = string.match(consumer, '^[^.]+')
            if call('PUBLISH', root .. 'wake:' .. client, consumer) > 0 then count = count - 1 end
        end
    end
end

-- Put a message into the stream of its priority.
local function ready(group, entry)
    local level = (entry.a > 0 and 'r' or 'p') .. entry.p
    local stream = root .. level .. ':' .. group
    if not made[stream] then
        if call('HSETNX', root .. 'levels:' .. group, level, 1) == 1 then
            call('XGROUP', 'CREATE', stream, 'g', '0', 'MKSTREAM')
        end
        made[stream] = true
    end
    call('XADD', stream, '*', 'm', entry.m, 't', entry.t, 'k', entry.k, 'a', entry.a)
    woken[group] = (woken[group] or 0) + 1
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

local function levels(group)
    return call('HKEYS', root .. 'levels:' .. group)
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

-- Take a consumer away and give back what it holds, or end its group where that is its own.
local function leave(group, consumer, reason)
    call('ZREM', root .. 'alive', consumer .. ' ' .. group)
    call('SREM', root .. 'consumers:' .. group, consumer)
    call('SREM', root .. 'idle:' .. group, consumer)
    if call('SISMEMBER', root .. 'ephemeral', group) == 1 and call('SCARD', root .. 'consumers:' .. group) == 0 then
        return destroy(group)
    end
    for _, level in ipairs(levels(group)) do
        local stream = root .. level .. ':' .. group
        local pending = call('XPENDING', stream, 'g', '-', '+', 1000, consumer)
        while #pending > 0 do
            for _, one in ipairs(pending) do give_back(group, level, one[1], 0, reason) end
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
