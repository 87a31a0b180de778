/* The golden matrix's other side on libmodbus: a device (`serve`) or a master (`ask`), over TCP or a serial line.
 *
 *   golden serve tcp          prints its port, serves one connection after the other
 *   golden serve rtu PATH     prints `ready`
 *   golden ask tcp PORT       a master of 127.0.0.1
 *   golden ask rtu PATH
 *
 * Unit 17. A line on standard input is answered by one on standard output; it ends with its input. Nothing is shared with
 * the tested side. */
#include <errno.h>
#include <modbus/modbus.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UNIT = 17, REGISTERS = 40000, OTHERS = 200, MOST = 2000 };

static char line[16384], *at;
static uint16_t words[MOST];
static uint8_t bits[MOST];

static int number(void) {
    char *text = strtok_r(NULL, " \n", &at);
    return text ? (int)strtol(text, NULL, 0) : -1;
}

/* The numbers that are left of the line. */
static int rest(void) {
    int n = 0;
    for (int got; n < MOST && (got = number()) >= 0; n++) {
        words[n] = (uint16_t)got;
        bits[n] = (uint8_t)(got != 0);
    }
    return n;
}

static void told(int count, int of_bits) {
    if (count < 0) {
        printf("error %s\n", modbus_strerror(errno));
        return;
    }
    for (int n = 0; n < count; n++)
        printf("%s%d", n ? " " : "", of_bits ? bits[n] : words[n]);
    printf("\n");
}

/* `set ADDRESS WORD...` and `get ADDRESS COUNT` on the device's own registers. */
static void look(modbus_mapping_t *map) {
    char *verb = strtok_r(line, " \n", &at);
    int address = number();
    if (strcmp(verb, "set") == 0) {
        int count = rest();
        memcpy(map->tab_registers + address, words, (size_t)count * 2);
        printf("ok\n");
    } else {
        int count = number();
        memcpy(words, map->tab_registers + address, (size_t)count * 2);
        told(count, 0);
    }
}

static int serve(modbus_t *ctx, int listener) {
    modbus_mapping_t *map = modbus_mapping_new(OTHERS, OTHERS, REGISTERS, OTHERS);
    for (int n = 0; n < OTHERS; n++) {
        map->tab_bits[n] = n % 3 == 0;
        map->tab_input_bits[n] = n % 3 != 0;
        map->tab_input_registers[n] = (uint16_t)(1000 + n);
    }
    uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
    int connected = listener < 0;
    for (;;) {
        int fd = connected ? modbus_get_socket(ctx) : listener;
        fd_set set;
        FD_ZERO(&set);
        FD_SET(0, &set);
        FD_SET(fd, &set);
        if (select(fd + 1, &set, NULL, NULL, NULL) < 0)
            return 1;
        if (FD_ISSET(0, &set)) {
            if (!fgets(line, sizeof line, stdin))
                return 0;
            look(map);
        }
        if (!FD_ISSET(fd, &set))
            continue;
        if (!connected) {
            connected = modbus_tcp_accept(ctx, &listener) >= 0;
            continue;
        }
        int got = modbus_receive(ctx, query);
        if (got > 0)
            modbus_reply(ctx, query, got, map);
        else if (got < 0 && listener >= 0) {
            modbus_close(ctx);
            connected = 0;
        }
    }
}

static int ask(modbus_t *ctx) {
    while (fgets(line, sizeof line, stdin)) {
        char *verb = strtok_r(line, " \n", &at);
        int address = number();
        if (strcmp(verb, "holding") == 0)
            told(modbus_read_registers(ctx, address, number(), words), 0);
        else if (strcmp(verb, "input") == 0)
            told(modbus_read_input_registers(ctx, address, number(), words), 0);
        else if (strcmp(verb, "coil") == 0)
            told(modbus_read_bits(ctx, address, number(), bits), 1);
        else if (strcmp(verb, "discrete") == 0)
            told(modbus_read_input_bits(ctx, address, number(), bits), 1);
        else if (strcmp(verb, "mask") == 0) {
            int and = number();
            told(modbus_mask_write_register(ctx, address, (uint16_t)and, (uint16_t)number()) < 0 ? -1 : 0, 0);
        } else {
            int count = rest(), done;
            if (strcmp(verb, "coils") == 0)
                done = count == 1 ? modbus_write_bit(ctx, address, bits[0])
                                  : modbus_write_bits(ctx, address, count, bits);
            else
                done = count == 1 ? modbus_write_register(ctx, address, words[0])
                                  : modbus_write_registers(ctx, address, count, words);
            told(done < 0 ? -1 : 0, 0);
        }
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 3)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    int serves = strcmp(argv[1], "serve") == 0, tcp = strcmp(argv[2], "tcp") == 0;
    const char *place = argc > 3 ? argv[3] : "0";
    modbus_t *ctx = tcp ? modbus_new_tcp("127.0.0.1", atoi(place)) : modbus_new_rtu(place, 19200, 'E', 8, 1);
    if (!ctx || modbus_set_slave(ctx, UNIT) < 0)
        return 3;
    int listener = -1;
    if (serves && tcp) {
        struct sockaddr_in bound;
        socklen_t size = sizeof bound;
        listener = modbus_tcp_listen(ctx, 1);
        if (listener < 0 || getsockname(listener, (struct sockaddr *)&bound, &size) < 0)
            return 4;
        printf("%d\n", ntohs(bound.sin_port));
    } else {
        modbus_set_response_timeout(ctx, 10, 0);
        if (modbus_connect(ctx) < 0) {
            fprintf(stderr, "%s: %s\n", place, modbus_strerror(errno));
            return 5;
        }
        printf("ready\n");
    }
    return serves ? serve(ctx, listener) : ask(ctx);
}
