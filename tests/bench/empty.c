/* SPDX-License-Identifier: MIT */

/* The least that a dynamically linked C program can do: what commands are compared to. */

int main(void)
{
        return 0;
}
